;; fails: malformed-answer in evaluate
;; 0x0aaaaaab reasons of 16 bytes each are 16 bytes in 32 bits.
;; in evaluate
(i32.store8 (i32.const 8) (i32.const 0))
(i32.store (i32.const 12) (i32.const 256))
(i32.store (i32.const 16) (i32.const 0x0aaaaaab))
(return (i32.const 0))
