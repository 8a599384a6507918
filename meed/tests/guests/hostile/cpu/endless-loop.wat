;; fails: out-of-fuel in evaluate
;; in evaluate
(loop $again (br $again))
