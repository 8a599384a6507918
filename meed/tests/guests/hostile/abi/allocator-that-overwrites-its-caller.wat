;; fails: trap in evaluate
;; Always the same address: context, state and facts overwrite each other. Only the guest itself is affected.
;; in realloc
(return (i32.const 65536))
;; in evaluate
(if (i32.ne (i32.load8_u (i32.const 65536)) (i32.const 255)) (then unreachable))
