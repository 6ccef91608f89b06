package extensions_test

import (
	"context"
	"fmt"

	"github.com/bhrpc/bhrpc/extensions"
	"github.com/bhrpc/bhrpc/spi"
)

func ExampleRegister() {
	cat := spi.NewCatalog()
	if err := extensions.Register(cat); err != nil {
		fmt.Println(err)
		return
	}
	_, err := cat.Serializers.Open(context.Background(), spi.Env{}, spi.Ref{Use: "jdk", Key: "consumer.serializer"})
	fmt.Println(err)
	s, err := cat.Serializers.Open(context.Background(), spi.Env{}, spi.Ref{Use: "json"})
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := s.Append(nil, []string{"hello"})
	fmt.Printf("%s %v\n", text, err)
	// Output:
	// consumer.serializer: serializer "jdk" is Java's own object stream; Go cannot speak it. Use json, or hessian2 with Java peers.
	// ["hello"] <nil>
}
