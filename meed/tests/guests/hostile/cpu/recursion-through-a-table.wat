;; fails: stack-overflow in evaluate
;; Two functions that call each other by index.
;; in items
(type $step (func (param i32) (result i32)))
(table $t funcref (elem $even $odd))
(func $even (type $step) (i32.add (i32.const 1) (call_indirect $t (type $step) (local.get 0) (i32.const 1))))
(func $odd (type $step) (i32.add (i32.const 1) (call_indirect $t (type $step) (local.get 0) (i32.const 0))))
;; in evaluate
(drop (call $even (i32.const 0)))
