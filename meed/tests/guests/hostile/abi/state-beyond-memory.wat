;; fails: malformed-answer in bind
;; A state of two gigabytes.
;; in bind
(i32.store (i32.const 16) (i32.const 0x7fffffff))
(return (i32.const 0))
