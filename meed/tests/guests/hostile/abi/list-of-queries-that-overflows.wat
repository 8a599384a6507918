;; fails: malformed-answer in bind
;; 0x05555556 queries of 48 bytes each are 32 bytes in 32 bits.
;; in bind
(i32.store (i32.const 4) (i32.const 256))
(i32.store (i32.const 8) (i32.const 0x05555556))
(return (i32.const 0))
