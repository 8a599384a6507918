;; refused: structure-limit
;; pages: 64
;; in items
(func)
