;; fails: out-of-fuel in evaluate
;; in items
(table $t 9000 funcref)
;; in evaluate
(loop $again (table.copy $t $t (i32.const 1) (i32.const 0) (i32.const 8999)) (br $again))
