;; fails: memory-limit in evaluate
;; Requests one page at a time.
;; in evaluate
(loop $again (drop (memory.grow (i32.const 1))) (br $again))
