;; fails: table-limit in evaluate
;; Each stays below the limit; it counts their sum.
;; in items
(table $a 0 funcref) (table $b 0 funcref) (table $c 0 funcref) (table $d 0 funcref)
;; in evaluate
(drop (table.grow $a (ref.null func) (i32.const 4000)))
(drop (table.grow $b (ref.null func) (i32.const 4000)))
(drop (table.grow $c (ref.null func) (i32.const 4000)))
(drop (table.grow $d (ref.null func) (i32.const 4000)))
