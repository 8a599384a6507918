;; fails: out-of-fuel in evaluate
;; A passive segment, written over and over.
;; in items
(data $segment "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
;; in evaluate
(loop $again (memory.init $segment (i32.const 65536) (i32.const 0) (i32.const 64)) (br $again))
