;; fails: malformed-answer in evaluate
;; An error message with half a UTF-16 pair, which UTF-8 does not have.
;; in evaluate
(i32.store8 (i32.const 512) (i32.const 0xed))
(i32.store8 (i32.const 513) (i32.const 0xa0))
(i32.store8 (i32.const 514) (i32.const 0x80))
(i32.store8 (i32.const 0) (i32.const 1))
(i32.store (i32.const 8) (i32.const 512))
(i32.store (i32.const 12) (i32.const 3))
(return (i32.const 0))
