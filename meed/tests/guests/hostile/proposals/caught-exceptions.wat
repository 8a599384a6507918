;; refused: does-not-compile, says exceptions
;; in items
(func (try_table (catch_all 0)))
