;; fails: trap in describe
;; in items
(table $t 1 funcref)
(elem (table $t) (i32.const 1) func $start)
(func $start)
