;; refused: does-not-compile
;; in imports
(import "nobody" "f" (func))
;; in with
