;; fails: malformed-answer in bind
;; in bind
(return (i32.const 0x7ffffff0))
