;; fails: trap in evaluate
;; in items
(table $t 2 funcref)
;; in evaluate
(call_indirect $t (i32.const 1))
