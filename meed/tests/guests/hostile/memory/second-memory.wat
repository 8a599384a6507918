;; refused: structure-limit
;; in items
(memory $second 1)
