;; fails: trap in evaluate
;; A function of one parameter, called as one without.
;; in items
(table $t funcref (elem $f))
(func $f (param i64))
;; in evaluate
(call_indirect $t (i32.const 0))
