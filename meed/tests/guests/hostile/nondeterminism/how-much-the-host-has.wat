;; fails: memory-limit in evaluate
;; Would be eligible if memory is scarce, but a denied growth ends the call.
;; in evaluate
(if (i32.ne (memory.grow (i32.const 1000)) (i32.const -1)) (then unreachable))
