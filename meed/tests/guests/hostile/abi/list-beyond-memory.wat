;; fails: malformed-answer in evaluate
;; An eligible decision with two billion reasons.
;; in evaluate
(i32.store8 (i32.const 8) (i32.const 0))
(i32.store (i32.const 16) (i32.const 0x7fffffff))
(return (i32.const 0))
