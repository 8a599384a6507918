;; refused: wrong-world
;; A handle of the host's among the types.
(component
  (import "meed:condition/types@1.0.0" (instance (export "file" (type (sub resource))))))
