;; fails: memory-limit in evaluate
;; Never asks for much.
;; in evaluate
(loop $again (drop (memory.grow (i32.const 1))) (br $again))
