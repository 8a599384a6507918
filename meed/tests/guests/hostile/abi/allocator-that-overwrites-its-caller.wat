;; fails: trap in evaluate
;; Always the same place: context, state and facts lie on top of each other. All that it confuses is itself.
;; in realloc
(return (i32.const 65536))
;; in evaluate
(if (i32.ne (i32.load8_u (i32.const 65536)) (i32.const 255)) (then unreachable))
