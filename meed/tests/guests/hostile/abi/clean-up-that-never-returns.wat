;; fails: out-of-fuel in evaluate
;; in items
(func (export "cabi_post_evaluate") (param i32) (loop $again (br $again)))
