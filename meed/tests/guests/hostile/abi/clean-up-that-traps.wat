;; fails: trap in evaluate
;; The host has read a valid answer; then it calls the guest to free it.
;; in items
(func (export "cabi_post_evaluate") (param i32) unreachable)
