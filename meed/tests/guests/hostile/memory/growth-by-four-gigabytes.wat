;; fails: memory-limit in evaluate
;; in evaluate
(drop (memory.grow (i32.const 65535)))
