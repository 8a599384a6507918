;; refused: does-not-compile
;; in definitions
(type (stream u8))
(type (future string))
