;; fails: malformed-answer in evaluate
;; Valid UTF-8, which a database may refuse.
;; in evaluate
(i32.store8 (i32.const 8) (i32.const 0))
(i32.store (i32.const 12) (i32.const 256))
(i32.store (i32.const 16) (i32.const 1))
(i32.store8 (i32.const 512) (i32.const 0x61))
(i32.store (i32.const 256) (i32.const 512))
(i32.store (i32.const 260) (i32.const 1))
(i32.store (i32.const 264) (i32.const 513))
(i32.store (i32.const 268) (i32.const 1))
(return (i32.const 0))
