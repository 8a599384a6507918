;; refused: wrong-world
;; Asks for a core module of the host's.
(component (import "meed:condition/log@1.0.0" (core module (export "note" (func (param i32 i32))))))
