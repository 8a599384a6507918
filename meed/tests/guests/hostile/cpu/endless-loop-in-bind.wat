;; fails: out-of-fuel in bind
;; in bind
(loop $again (br $again))
