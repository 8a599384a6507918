;; refused: wrong-world, says evaluate
;; in definitions
(instance $nothing)
;; in evaluate-export
instance $nothing
