;; refused: wrong-world
;; Hides a capability among the types, which a plugin may import.
(component
  (import "meed:condition/types@1.0.0" (instance (export "now" (func (result u64))))))
