;; fails: malformed-answer in evaluate
;; One reason at 256, whose message has no end.
;; in evaluate
(i32.store8 (i32.const 8) (i32.const 0))
(i32.store (i32.const 12) (i32.const 256))
(i32.store (i32.const 16) (i32.const 1))
(i32.store (i32.const 268) (i32.const -1))
(return (i32.const 0))
