;; fails: malformed-answer in evaluate
;; An error message with U+110000.
;; in evaluate
(i32.store8 (i32.const 512) (i32.const 0xf4))
(i32.store8 (i32.const 513) (i32.const 0x90))
(i32.store8 (i32.const 514) (i32.const 0x80))
(i32.store8 (i32.const 515) (i32.const 0x80))
(i32.store8 (i32.const 0) (i32.const 1))
(i32.store (i32.const 8) (i32.const 512))
(i32.store (i32.const 12) (i32.const 4))
(return (i32.const 0))
