;; fails: trap in evaluate
;; The answer was good, and read; then the guest is told that it may free it.
;; in items
(func (export "cabi_post_evaluate") (param i32) unreachable)
