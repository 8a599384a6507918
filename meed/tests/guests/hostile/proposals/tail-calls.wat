;; refused: does-not-compile, says tail calls
;; in items
(func $f (return_call $f))
