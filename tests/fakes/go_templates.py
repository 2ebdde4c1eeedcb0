"""Chat templates in Go's language, one for each shape that model families use. Written for these tests."""

from __future__ import annotations

from typing import Final

CHATML: Final = """{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ .Response }}<|im_end|>
"""

CHATML_MESSAGES: Final = """{{- range $i, $m := .Messages -}}
<|im_start|>{{ $m.Role }}
{{ $m.Content }}{{ if ne (len (slice $.Messages $i)) 1 }}<|im_end|>
{{ else if ne $m.Role "assistant" }}<|im_end|>
<|im_start|>assistant
{{ end }}
{{- end }}"""

LLAMA2: Final = """[INST] {{ if .System }}<<SYS>>
{{ .System }}
<</SYS>>

{{ end }}{{ .Prompt }} [/INST] {{ .Response }}</s><s>"""

LLAMA3: Final = """{{ if .System }}<|start_header_id|>system<|end_header_id|>

{{ .System }}<|eot_id|>{{ end }}{{ if .Prompt }}<|start_header_id|>user<|end_header_id|>

{{ .Prompt }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>

{{ .Response }}<|eot_id|>"""

LLAMA3_TOOLS: Final = """{{- $tooled := .Tools }}
{{- if or .System .Tools }}<|start_header_id|>system<|end_header_id|>
{{- if .System }}

{{ .System }}
{{- end }}
{{- if .Tools }}

Answer a function's result in your own words.
{{- end }}<|eot_id|>
{{- end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<|start_header_id|>user<|end_header_id|>
{{- if and $tooled $last }}

To call a function reply {"name": function name, "parameters": {name: value}}.

{{ range $tooled }}{{ . }}
{{ end }}{{ .Content }}<|eot_id|>
{{- else }}

{{ .Content }}<|eot_id|>
{{- end }}{{ if $last }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- else if eq .Role "assistant" }}<|start_header_id|>assistant<|end_header_id|>
{{- if .ToolCalls }}
{{ range .ToolCalls }}
{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}{{ end }}
{{- else }}

{{ .Content }}
{{- end }}{{ if not $last }}<|eot_id|>{{ end }}
{{- else if eq .Role "tool" }}<|start_header_id|>ipython<|end_header_id|>

{{ .Content }}<|eot_id|>{{ if $last }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- end }}
{{- end }}"""

MISTRAL: Final = """[INST] {{ if .System }}{{ .System }} {{ end }}{{ .Prompt }}[/INST] {{ .Response }}</s>"""

MISTRAL_TOOLS: Final = """{{- range $index, $_ := .Messages }}
{{- if eq .Role "user" }}
{{- if and (le (len (slice $.Messages $index)) 2) $.Tools }}[AVAILABLE_TOOLS] {{ json $.Tools -}}
[/AVAILABLE_TOOLS]
{{- end }}[INST] {{ if and (eq (len (slice $.Messages $index)) 1) $.System }}{{ $.System }}

{{ end }}{{ .Content }}[/INST]
{{- else if eq .Role "assistant" }}
{{- if .Content }} {{ .Content }}</s>
{{- else if .ToolCalls }}[TOOL_CALLS] [
{{- range $n, $_ := .ToolCalls }}{{ if $n }}, {{ end }}\
{"name": "{{ .Function.Name }}", "arguments": {{ json .Function.Arguments }}}
{{- end }}]</s>
{{- end }}
{{- else if eq .Role "tool" }}[TOOL_RESULTS] {"content": {{ json .Content }}}[/TOOL_RESULTS]
{{- end }}
{{- end }}"""

GEMMA: Final = """<start_of_turn>user
{{ if .System }}{{ .System }} {{ end }}{{ .Prompt }}<end_of_turn>
<start_of_turn>model
{{ .Response }}<end_of_turn>
"""

GEMMA_MESSAGES: Final = """{{- $system := "" }}
{{- range .Messages }}
{{- if eq .Role "system" }}{{ $system = .Content }}{{ continue }}{{ end }}
{{- if eq .Role "user" }}<start_of_turn>user
{{ with $system }}{{ . }}

{{ end }}{{ .Content }}<end_of_turn>
{{ $system = "" }}
{{- else }}<start_of_turn>model
{{ .Content }}<end_of_turn>
{{ end }}
{{- end }}<start_of_turn>model
"""

PHI3: Final = """{{ if .System }}<|system|>
{{ .System }}<|end|>
{{ end }}{{ if .Prompt }}<|user|>
{{ .Prompt }}<|end|>
{{ end }}<|assistant|>
{{ .Response }}<|end|>
"""

PHI4: Final = """{{- range $i, $_ := .Messages }}<|im_start|>{{ .Role }}<|im_sep|>
{{- .Content }}{{ if lt $i (len (slice $.Messages 1)) }}<|im_end|>{{ end }}
{{- if and (eq (len (slice $.Messages $i)) 1) (ne .Role "assistant") -}}
<|im_end|><|im_start|>assistant<|im_sep|>
{{- end }}
{{- end }}"""

VICUNA: Final = """{{ .System }}
USER: {{ .Prompt }}
ASSISTANT: {{ .Response }}</s>
"""

ALPACA: Final = """{{- if .System }}
{{ .System }}
{{ end }}
### Instruction:
{{ .Prompt }}

### Response:
{{ .Response }}

"""

ZEPHYR: Final = """{{- range .Messages }}<|{{ .Role }}|>
{{ .Content }}</s>
{{ end }}<|assistant|>
"""

COMMAND_R: Final = """{{- if or .Tools .System }}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>
{{- with .System }}# About
{{ . }}
{{- end }}
{{- if .Tools }}
# Tools
{{- range .Tools }}
```python
def {{ .Function.Name }}(
{{- range $name, $property := .Function.Parameters.Properties }}{{ $name }}: {{ $property.Type }}, {{ end -}}
) -> list:
    '''{{ .Function.Description }}
{{- range $name, $property := .Function.Parameters.Properties }}
    {{ $name }} ({{ toTypeScriptType $property }}): {{ $property.Description }}{{ end }}'''
```
{{- end }}
{{- end }}<|END_OF_TURN_TOKEN|>
{{- end }}
{{- range .Messages }}
{{- if eq .Role "system" }}{{ continue }}{{ end }}<|START_OF_TURN_TOKEN|>
{{- if eq .Role "user" }}<|USER_TOKEN|>{{ .Content }}
{{- else if eq .Role "assistant" }}<|CHATBOT_TOKEN|>
{{- if .Content }}{{ .Content }}{{ end }}
{{- if .ToolCalls }}Action: {{ json .ToolCalls }}{{ end }}
{{- else if eq .Role "tool" }}<|SYSTEM_TOKEN|><results>
{{ .Content }}</results>
{{- end }}<|END_OF_TURN_TOKEN|>
{{- end }}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"""

GRANITE: Final = """{{- if .Tools }}<|start_of_role|>available_tools<|end_of_role|>
{{- range .Tools }}
{{ . }}
{{ end }}<|end_of_text|>
{{ end }}
{{- range $index, $_ := .Messages }}<|start_of_role|>
{{- if eq .Role "tool" }}tool_response{{ else }}{{ .Role }}{{ end }}<|end_of_role|>
{{- if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<|tool_call|>
{{- range .ToolCalls }}{"name":"{{ .Function.Name }}","arguments":{{ .Function.Arguments }}}{{ end }}
{{- end }}<|end_of_text|>
{{ if eq (len (slice $.Messages $index)) 1 }}<|start_of_role|>assistant<|end_of_role|>{{ end }}
{{- end }}"""

QWEN_TOOLS: Final = """{{- if or .System .Tools }}<|im_start|>system
{{- if .System }}
{{ .System }}
{{- end }}
{{- if .Tools }}

# Tools

You may call functions. Their signatures are within <tools></tools>:
<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>

A call is a json object within <tool_call></tool_call>:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}"""

QWEN3_THINKING: Final = """{{- $lastUser := -1 -}}
{{- range $i, $m := .Messages }}{{ if eq $m.Role "user" }}{{ $lastUser = $i }}{{ end }}{{ end -}}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
<|im_start|>{{ .Role }}
{{ if and .Thinking (or $last (gt $i $lastUser)) }}<think>{{ .Thinking }}</think>
{{ end }}{{ .Content }}
{{- if and $.IsThinkSet (eq $i $lastUser) }}{{ if $.Think }} /think{{ else }} /no_think{{ end }}{{ end }}
{{- if or (ne .Role "assistant") (not $last) }}<|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ if and $.IsThinkSet (not $.Think) }}<think>

</think>

{{ end }}{{ end }}
{{- end }}"""

DEEPSEEK: Final = """{{- if .System }}{{ .System }}{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<｜User｜>{{ .Content }}
{{- else if eq .Role "assistant" }}<｜Assistant｜>{{ .Content }}
{{- if not $last }}<｜end▁of▁sentence｜>{{- end }}
{{- end }}
{{- if and $last (ne .Role "assistant") }}<｜Assistant｜>{{- end }}
{{- end }}"""

OPENCHAT: Final = """{{ if .System }}GPT4 Correct System: {{ .System }}<|end_of_turn|>
{{- end }}GPT4 Correct User: {{ .Prompt }}<|end_of_turn|>{{- /* joined */ -}}
GPT4 Correct Assistant: {{ .Response }}<|end_of_turn|>"""

FALCON: Final = """{{ with .System }}System: {{ . }}
{{ end }}User: {{ .Prompt }}
Falcon: {{ .Response }}
"""

STARCODER_FIM: Final = """{{- if .Suffix }}<fim_prefix>{{ .Prompt }}<fim_suffix>{{ .Suffix }}<fim_middle>
{{- else }}{{ if .System }}{{ .System }}

{{ end }}### Instruction
{{ .Prompt }}

### Response
{{ .Response }}<|endoftext|>
{{ end }}"""

SOLAR: Final = """{{ if .System }}### System:
{{ .System }}

{{ end }}{{ if .Prompt }}### User:
{{ .Prompt }}

{{ end }}### Assistant:
{{ .Response }}</s>

"""

NO_RESPONSE: Final = "{{ .System }}|{{ .Prompt }}|"

DEFINED: Final = """{{- define "turn" }}<{{ .Role }}>{{ .Content }}</{{ .Role }}>{{ end -}}
{{- range .Messages }}{{ template "turn" . }}{{ end }}{{ block "opening" $ }}<assistant>{{ end }}"""

DATED: Final = """{{- /* a comment */ -}}
Cutting date: {{ yesterdayDate }}. Today: {{ currentDate | printf "%s" }}.
{{- range .Messages }}
[{{ printf "%s says" .Role }}] {{ .Content -}}
{{ else }}
(nothing){{ end }}
[assistant]"""

FAMILIES: Final = {
    name.lower(): text for name, text in globals().copy().items() if name.isupper() and isinstance(text, str)
}
