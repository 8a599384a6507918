;; fails: stack-overflow in describe
;; in items
(func $down (param i64) (result i64) (i64.add (local.get 0) (call $down (i64.mul (local.get 0) (i64.const 3)))))
(func $start (drop (call $down (i64.const 1))))
(start $start)
