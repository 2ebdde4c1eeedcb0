// What Go's own text/template gives for the cases of tests/unit/go_template/go_answers.json: it reads them from
// standard input and writes them with the answers filled in.
//
//	go run tests/fakes/go_oracle/main.go < CASES > tests/unit/go_template/go_answers.json
//
// Needed only to make that file again; the tests read the file and need no Go. Two differences from Ollama are
// meant: JSON is written without HTML's escapes, and the calls of merged messages are kept.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

func plain(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n")
}

type Args map[string]any

func (a Args) String() string { return plain(map[string]any(a)) }

type CallFn struct {
	Name      string `json:"name"`
	Arguments Args   `json:"arguments"`
}
type Call struct {
	ID       string `json:"id,omitempty"`
	Type     string `json:"type"`
	Function CallFn `json:"function"`
}
type Msg struct {
	Role       string   `json:"role"`
	Content    string   `json:"content"`
	Thinking   string   `json:"reasoning_content,omitempty"`
	Images     []string `json:"-"`
	ToolCalls  []Call   `json:"tool_calls,omitempty"`
	ToolName   string   `json:"-"`
	ToolCallID string   `json:"tool_call_id,omitempty"`
}
type PT []string

func (p PT) String() string {
	if len(p) == 0 {
		return ""
	}
	if len(p) == 1 {
		return p[0]
	}
	return fmt.Sprintf("%v", []string(p))
}
func (p *PT) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*p = PT{s}
		return nil
	}
	var a []string
	if e := json.Unmarshal(b, &a); e != nil {
		return e
	}
	*p = a
	return nil
}
func (p PT) MarshalJSON() ([]byte, error) {
	if len(p) == 1 {
		return json.Marshal(p[0])
	}
	return json.Marshal([]string(p))
}

type Prop struct {
	AnyOf       []Prop          `json:"anyOf,omitempty"`
	Type        PT              `json:"type,omitempty"`
	Items       any             `json:"items,omitempty"`
	Description string          `json:"description,omitempty"`
	Enum        []any           `json:"enum,omitempty"`
	Properties  map[string]Prop `json:"properties,omitempty"`
	Required    []string        `json:"required,omitempty"`
}
type Params struct {
	Type       string          `json:"type"`
	Defs       any             `json:"$defs,omitempty"`
	Items      any             `json:"items,omitempty"`
	Required   []string        `json:"required,omitempty"`
	Properties map[string]Prop `json:"properties"`
}

func (p *Params) String() string { return plain(p) }

type Fn struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Parameters  Params `json:"parameters"`
}

func (p *Fn) String() string { return plain(p) }

type Tool struct {
	Type     string `json:"type"`
	Function Fn     `json:"function"`
}

func (t Tool) String() string { return plain(t) }

type Tools []Tool

func (t Tools) String() string { return plain(t) }

func ts(p Prop) string {
	m := map[string]string{"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "array": "any[]", "object": "Record<string, any>", "null": "null"}
	var out []string
	if len(p.AnyOf) > 0 {
		for _, a := range p.AnyOf {
			out = append(out, ts(a))
		}
		return strings.Join(out, " | ")
	}
	if len(p.Type) == 0 {
		return "any"
	}
	for _, t := range p.Type {
		v, ok := m[t]
		if !ok {
			v = "any"
		}
		out = append(out, v)
	}
	return strings.Join(out, " | ")
}

var funcs = template.FuncMap{
	"json":          plain,
	"currentDate":   func(...string) string { return "2026-03-01" },
	"yesterdayDate": func(...string) string { return "2026-02-28" },
	"toTypeScriptType": func(v any) string {
		if p, ok := v.(Prop); ok {
			return ts(p)
		}
		return "any"
	},
}

func idents(n parse.Node) []string {
	var out []string
	walk := func(ns ...parse.Node) {
		for _, x := range ns {
			out = append(out, idents(x)...)
		}
	}
	br := func(b *parse.BranchNode) {
		walk(b.Pipe, b.List)
		if b.ElseList != nil {
			walk(b.ElseList)
		}
	}
	switch n := n.(type) {
	case *parse.ListNode:
		walk(n.Nodes...)
	case *parse.TemplateNode:
		if n.Pipe != nil {
			walk(n.Pipe)
		}
	case *parse.ActionNode:
		walk(n.Pipe)
	case *parse.IfNode:
		br(&n.BranchNode)
	case *parse.RangeNode:
		br(&n.BranchNode)
	case *parse.WithNode:
		br(&n.BranchNode)
	case *parse.PipeNode:
		for _, c := range n.Cmds {
			walk(c.Args...)
		}
	case *parse.FieldNode:
		return n.Ident
	case *parse.VariableNode:
		return n.Ident
	}
	return out
}

type Case struct {
	Template string            `json:"template"`
	Messages []json.RawMessage `json:"messages"`
	Tools    json.RawMessage   `json:"tools"`
	Think    bool              `json:"think"`
	Answer   string            `json:"answer"`
}
type Out struct{ Text, Error string }

func run(c Case) (o Out) {
	defer func() {
		if r := recover(); r != nil {
			o = Out{Error: fmt.Sprint("panic: ", r)}
		}
	}()
	src := c.Template
	if l := strings.ToLower(src); !strings.Contains(l, ".messages") && !strings.Contains(l, ".response") {
		src += "{{ .Response }}"
	}
	t, err := template.New("").Option("missingkey=zero").Funcs(funcs).Parse(src)
	if err != nil {
		return Out{Error: "parse: " + err.Error()}
	}
	var ids []string
	for _, tt := range t.Templates() {
		if tt.Tree != nil {
			for _, x := range idents(tt.Tree.Root) {
				ids = append(ids, strings.ToLower(x))
			}
		}
	}
	var tools Tools
	if err := json.Unmarshal(c.Tools, &tools); err != nil {
		return Out{Error: err.Error()}
	}
	var system []string
	var msgs []*Msg
	names := map[string]string{}
	for _, raw := range c.Messages {
		var m Msg
		if err := json.Unmarshal(raw, &m); err != nil {
			return Out{Error: err.Error()}
		}
		for _, call := range m.ToolCalls {
			names[call.ID] = call.Function.Name
		}
		m.ToolName = names[m.ToolCallID]
		if m.Role == "system" {
			system = append(system, m.Content)
		}
		if n := len(msgs); n > 0 && msgs[n-1].Role == m.Role && m.Role != "tool" {
			msgs[n-1].Content += "\n\n" + m.Content
			msgs[n-1].ToolCalls = append(msgs[n-1].ToolCalls, m.ToolCalls...)
		} else {
			msgs = append(msgs, &m)
		}
	}
	var b bytes.Buffer
	if slices.Contains(ids, "messages") || slices.Contains(ids, "document") {
		err := t.Execute(&b, map[string]any{"System": strings.Join(system, "\n\n"), "Messages": msgs, "Tools": tools, "Response": "", "Think": c.Think, "IsThinkSet": true, "ThinkLevel": "", "Prompt": "", "Suffix": ""})
		if err != nil {
			return Out{Error: "exec: " + err.Error()}
		}
		return Out{Text: b.String()}
	}
	// the sentinel marks .Response of the last exchange; what follows it is cut
	var s, p, r string
	exec := func(s, p, r string) error {
		return t.Execute(&b, map[string]any{"System": s, "Prompt": p, "Response": r, "Think": c.Think, "IsThinkSet": true, "ThinkLevel": "", "Suffix": ""})
	}
	for _, m := range msgs {
		switch m.Role {
		case "system":
			if p != "" || r != "" {
				if err := exec(s, p, r); err != nil {
					return Out{Error: err.Error()}
				}
				s, p, r = "", "", ""
			}
			s = m.Content
		case "user":
			if r != "" {
				if err := exec(s, p, r); err != nil {
					return Out{Error: err.Error()}
				}
				s, p, r = "", "", ""
			}
			p = m.Content
		case "assistant":
			r = m.Content
		}
	}
	at := b.Len()
	if err := exec(s, p, r+"\x01"); err != nil {
		return Out{Error: err.Error()}
	}
	all := b.String()
	if i := strings.Index(all[at:], "\x01"); i >= 0 {
		return Out{Text: all[:at+i]}
	}
	if !slices.Contains(ids, "response") {
		return Out{Text: all + r}
	}
	return Out{Text: all}
}
func main() {
	var cases []Case
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	lines := make([]string, len(cases))
	for i, c := range cases {
		out := run(c)
		if out.Error != "" {
			panic(out.Error + ": " + c.Template)
		}
		c.Answer = out.Text
		lines[i] = plain(c)
	}
	fmt.Print("[\n" + strings.Join(lines, ",\n") + "\n]\n")
}
