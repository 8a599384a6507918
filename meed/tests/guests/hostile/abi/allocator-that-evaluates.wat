;; fails: stack-overflow in evaluate
;; Calls itself while the host passes its input.
;; in items
(func $again (result i32) (call $decide (i32.const 0)))
(func $decide (param i32) (result i32) (i32.add (call $again) (i32.const 1)))
;; in realloc
(return (call $again))
