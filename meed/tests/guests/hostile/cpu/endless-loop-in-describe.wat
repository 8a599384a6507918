;; fails: out-of-fuel in describe
;; in describe
(loop $again (br $again))
