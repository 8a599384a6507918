package meed

import "strconv"

// Params as JSON, already checked against the schema. encoding/json works too, but includes reflection and file access,
// which makes the module two and a half times as large.
type Params struct{ value any }

// Int of a member, or the default if it is missing.
func (params Params) Int(name string, absent int64) int64 { return member(params, name, absent) }

func (params Params) Text(name string, absent string) string { return member(params, name, absent) }

func (params Params) Bool(name string, absent bool) bool { return member(params, name, absent) }

// Member that is an object; an empty object if it is missing.
func (params Params) Member(name string) Params {
	object, _ := params.value.(map[string]any)
	return Params{object[name]}
}

// Items of a member that is an array.
func (params Params) Items(name string) []Params {
	items, _ := params.Member(name).value.([]any)
	return convert(items, func(item any) Params { return Params{item} })
}

func (params Params) Has(name string) bool {
	object, _ := params.value.(map[string]any)
	_, has := object[name]
	return has
}

func member[T any](params Params, name string, absent T) T {
	if value, ok := params.Member(name).value.(T); ok {
		return value
	}
	return absent
}

func readParams(text string) (params Params, fault string) {
	reader := reader{text: text}
	params = Params{reader.value()}
	if reader.fault || reader.next() != 0 {
		return params, "The params must be JSON with whole numbers."
	}
	return params, ""
}

// reader of JSON whose numbers are whole.
type reader struct {
	text  string
	fault bool
}

// next skips white space and looks at what follows; 0 is the end.
func (reader *reader) next() byte {
	for reader.text != "" {
		switch reader.text[0] {
		case ' ', '\t', '\n', '\r':
			reader.text = reader.text[1:]
		default:
			return reader.text[0]
		}
	}
	return 0
}

func (reader *reader) accept(letter byte) bool {
	if reader.next() != letter {
		return false
	}
	reader.text = reader.text[1:]
	return true
}

func (reader *reader) word(word string, value any) any {
	if len(reader.text) < len(word) || reader.text[:len(word)] != word {
		reader.fault = true
		return nil
	}
	reader.text = reader.text[len(word):]
	return value
}

func (reader *reader) value() any {
	switch next := reader.next(); {
	case next == '{':
		object := map[string]any{}
		reader.each('{', '}', func() {
			name := reader.string()
			reader.fault = reader.fault || !reader.accept(':')
			object[name] = reader.value()
		})
		return object
	case next == '[':
		items := []any{}
		reader.each('[', ']', func() { items = append(items, reader.value()) })
		return items
	case next == '"':
		return reader.string()
	case next == 't':
		return reader.word("true", true)
	case next == 'f':
		return reader.word("false", false)
	case next == 'n':
		return reader.word("null", nil)
	default:
		return reader.number()
	}
}

func (reader *reader) each(open, close byte, item func()) {
	reader.accept(open)
	if reader.accept(close) {
		return
	}
	for !reader.fault {
		item()
		if reader.accept(close) {
			return
		}
		reader.fault = reader.fault || !reader.accept(',')
	}
}

func (reader *reader) number() any {
	end := 0
	for end < len(reader.text) && (reader.text[end] == '-' || '0' <= reader.text[end] && reader.text[end] <= '9') {
		end++
	}
	number, err := strconv.ParseInt(reader.text[:end], 10, 64)
	reader.text, reader.fault = reader.text[end:], reader.fault || err != nil
	return number
}

func (reader *reader) string() string {
	end := 1
	for end < len(reader.text) && reader.text[end] != '"' {
		if reader.text[end] == '\\' {
			end++
		}
		end++
	}
	if reader.next() != '"' || end >= len(reader.text) {
		reader.fault = true
		return ""
	}
	text := reader.text[1:end]
	reader.text = reader.text[end+1:]
	return reader.unescape(text)
}

func (reader *reader) unescape(text string) string {
	letters := make([]rune, 0, len(text))
	for text != "" {
		// Go's escapes are those of JSON, except the solidus and surrogate pairs.
		if len(text) > 1 && text[:2] == `\/` {
			letters, text = append(letters, '/'), text[2:]
			continue
		}
		if len(text) > 11 && text[:2] == `\u` && text[6:8] == `\u` {
			high, _ := strconv.ParseUint(text[2:6], 16, 16)
			low, _ := strconv.ParseUint(text[8:12], 16, 16)
			if high>>10 == 0xD8>>2 && low>>10 == 0xDC>>2 {
				letters, text = append(letters, rune(0x10000+(high-0xD800)<<10+(low-0xDC00))), text[12:]
				continue
			}
		}
		letter, _, rest, err := strconv.UnquoteChar(text, '"')
		if err != nil {
			reader.fault = true
			return ""
		}
		letters, text = append(letters, letter), rest
	}
	return string(letters)
}
