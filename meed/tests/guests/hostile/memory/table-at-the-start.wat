;; refused: structure-limit
;; in items
(table $t 0x7fffffff funcref)
