# The proxy relays an OPTIONS with an invented To-tag to the friend, who answers.
Setup proxy
Attack method=Options to_tag=Invented target=Friend
