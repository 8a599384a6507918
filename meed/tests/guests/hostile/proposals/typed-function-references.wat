;; refused: does-not-compile, says function references
;; in items
(type $f (func))
(func (param (ref $f)) (call_ref $f (local.get 0)))
