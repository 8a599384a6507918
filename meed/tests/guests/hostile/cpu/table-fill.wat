;; fails: out-of-fuel in evaluate
;; in items
(table $t 9000 funcref)
;; in evaluate
(loop $again (table.fill $t (i32.const 0) (ref.null func) (i32.const 9000)) (br $again))
