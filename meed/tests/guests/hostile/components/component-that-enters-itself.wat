;; fails: trap in describe
;; Lowers a function that it lifted, and calls it through the host while it is inside.
;; in definitions
(core module $inner (func (export "f")))
(core instance $inner (instantiate $inner))
(func $lifted (canon lift (core func $inner "f")))
(core func $lowered (canon lower (func $lifted)))
(core instance $self (export "f" (func $lowered)))
;; in with
(with "self" (instance $self))
;; in imports
(import "self" "f" (func $self))
;; in describe
(call $self)
