;; fails: table-limit in evaluate
;; in items
(table $t 0 externref)
;; in evaluate
(loop $again (drop (table.grow $t (ref.null extern) (i32.const 1))) (br $again))
