;; fails: table-limit in evaluate
;; in items
(table $t 0 funcref)
;; in evaluate
(loop $again (drop (table.grow $t (ref.null func) (i32.const 1))) (br $again))
