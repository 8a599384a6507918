;; refused: does-not-compile
;; A value of a gigabyte.
;; in definitions
(type (list u8 1073741823))
