;; refused: wrong-world
;; The right name, but not of an interface.
(component (import "meed:condition/log@1.0.0" (func (result u64))))
