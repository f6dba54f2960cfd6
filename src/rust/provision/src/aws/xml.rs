//! What the older services answer.

use super::Trouble;

/// An element with what is in it; what is not there is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Xml {
    name: String,
    text: String,
    children: Vec<Xml>,
}

impl Xml {
    /// Reads a whole document.
    ///
    /// # Errors
    /// What is no XML is taken for no answer.
    pub fn read(action: &str, text: &str) -> Result<Self, Trouble> {
        let document = roxmltree::Document::parse(text).map_err(|e| {
            Trouble::silence(action.to_owned(), format!("the answer is no XML: {e}"))
        })?;
        Ok(Self::of(document.root_element()))
    }

    fn of(node: roxmltree::Node<'_, '_>) -> Self {
        Self {
            name: node.tag_name().name().to_owned(),
            text: node.text().unwrap_or_default().trim().to_owned(),
            children: node.children().filter(roxmltree::Node::is_element).map(Self::of).collect(),
        }
    }

    /// The first element at a path of names parted by `/`.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('/').try_fold(self, |here, name| here.children.iter().find(|c| c.name == name))
    }

    /// The text at a path; empty where there is none.
    #[must_use]
    pub fn text(&self, path: &str) -> &str {
        self.at(path).map_or("", |found| &found.text)
    }

    /// The items of the list at a path, whose elements AWS calls `item` or `member`.
    #[must_use]
    pub fn items(&self, path: &str) -> Vec<&Self> {
        self.at(path).map_or_else(Vec::new, |list| list.children.iter().collect())
    }

    /// The text of the first element of this name, however deep.
    #[must_use]
    pub fn deep(&self, name: &str) -> Option<&str> {
        if self.name == name {
            return Some(&self.text);
        }
        self.children.iter().find_map(|child| child.deep(name))
    }

    /// Whether this item is tagged so, in either of AWS's spellings.
    #[must_use]
    pub fn tagged(&self, key: &str, value: &str) -> bool {
        let ec2 = self.items("tagSet");
        let iam = self.items("Tags");
        ec2.iter().any(|tag| tag.text("key") == key && tag.text("value") == value)
            || iam.iter().any(|tag| tag.text("Key") == key && tag.text("Value") == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_texts_and_tags_are_found_and_what_is_not_there_is_empty() {
        let text = r#"<DescribeVpcsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
            <vpcSet><item><vpcId>vpc-1</vpcId>
            <tagSet><item><key>k</key><value>v</value></item></tagSet></item></vpcSet>
            </DescribeVpcsResponse>"#;
        let xml = Xml::read("ec2:DescribeVpcs", text).expect("XML");
        let items = xml.items("vpcSet");
        assert_eq!((items.len(), items[0].text("vpcId")), (1, "vpc-1"));
        assert!(items[0].tagged("k", "v") && !items[0].tagged("k", "w"));
        assert_eq!((xml.text("no/such"), xml.deep("vpcId")), ("", Some("vpc-1")));
        assert!(xml.items("subnetSet").is_empty());
        assert!(Xml::read("ec2:DescribeVpcs", "hello").is_err_and(|e| e.passing));
    }
}
