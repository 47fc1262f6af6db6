package classify

import "strings"

// markup skips a tag, and with script and style what they enclose.
func (n *normaliser) markup(next byte) {
	if n.noGT || !isLower(next) && !isUpper(next) && next != '/' && next != '!' {
		n.separate(' ')
		return
	}
	rest := n.src[n.pos:]
	end := strings.IndexByte(rest, '>')
	if end < 0 {
		n.noGT = true
		n.separate(' ')
		return
	}
	if value, ok := attribute(rest[:end]); ok {
		n.separate(clauseEnd)
		inside := normaliser{src: value, out: n.out, noGT: true}
		for inside.pos < len(inside.src) {
			inside.step()
		}
		n.out = inside.out
		n.separate(clauseEnd)
	}
	n.pos += end + 1
	switch name := tagName(rest[:end]); name {
	case "script", "style":
		if closing := strings.Index(n.src[n.pos:], "</"+name); closing >= 0 {
			n.pos += closing
		} else {
			n.pos = len(n.src)
		}
		n.separate(clauseEnd)
	case "a", "b", "i", "u", "em", "strong", "code", "span", "wbr":
		n.separate(' ') // these stand inside a sentence
	default:
		n.separate(clauseEnd)
	}
}

// attribute returns what an XML tag says in an attribute: <Result Message="...">.
func attribute(tag string) (string, bool) {
	for i := 0; ; {
		at := strings.IndexByte(tag[i:], '=')
		if at < 0 {
			return "", false
		}
		name, value := tag[i:i+at], tag[i+at+1:]
		name = name[strings.LastIndexAny(name, " \n\t")+1:]
		i += at + 1
		if len(value) < 2 || value[0] != '"' && value[0] != '\'' {
			continue
		}
		end := strings.IndexByte(value[1:], value[0])
		if end < 0 {
			return "", false
		}
		i += end + 2
		for _, says := range []string{"mess", "mens", "msg", "desc", "reason", "error", "text", "motivo"} {
			if len(name) < 24 && containsFold(name, says) {
				return value[1 : 1+end], true
			}
		}
	}
}

func tagName(tag string) string {
	tag = strings.TrimPrefix(tag, "/")
	for i := range len(tag) {
		if !isAlnum(tag[i]) {
			return tag[:i]
		}
	}
	return tag
}

// wallPage names what a page loads if only a firewall's own page loads it, not
// also the pages behind the firewall: such a page may have no word that is
// read. Known of Alibaba Cloud WAF, Cloudflare, DataDome and HUMAN.
func wallPage(page string) string {
	page = page[:min(len(page), MaxText)]
	for _, host := range []string{
		"errors.aliyun.com/images", "/orchestrate/chl_page", "captcha-delivery.com", "captcha.px-cdn.net",
	} {
		if strings.Contains(page, host) {
			return host
		}
	}
	return ""
}
