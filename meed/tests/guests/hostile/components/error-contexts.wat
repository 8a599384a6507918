;; refused: does-not-compile
;; Strings that the host would keep for the guest.
;; in definitions
(type error-context)
